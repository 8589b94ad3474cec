/* How fast this machine can take the gradient of a network of single units: explicit vectors, nothing general.
 *
 * A thread takes a tile of LANES samples and runs both sweeps on it, z in one buffer z[row][lane] that stays in its L2 cache.
 *
 *   forward   a_j = b_j + sum_i w_ji z_i,  z_j = a_j / (1 + |a_j|), outputs linear; accumulators stay in registers
 *   reverse   units backwards; one pass over the OUTGOING edges i -> k gives sum_k w_ki delta_k and, from the same load of
 *             delta_k, the weight gradients sum_n delta_k z_i; then delta_i overwrites z_i
 *
 * The sum over the lanes of a weight gradient costs as much as its edge, so WIDTH edges are summed together: a butterfly of
 * log2(WIDTH) steps turns WIDTH vectors into one vector of their sums.  (Prefetching rows ahead was tried and did not pay.)
 *
 * Compile with -DREAL=double|float -DWIDTH=(elements a vector) -DLANES=(a multiple of WIDTH).
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#define VECTORS (LANES / WIDTH)

typedef REAL vec __attribute__((vector_size(WIDTH * sizeof(REAL))));
typedef REAL loose __attribute__((vector_size(WIDTH * sizeof(REAL)), aligned(sizeof(REAL))));
#if REAL_BYTES == 8
typedef int64_t integer;
#define SIGN 0x7fffffffffffffffLL
#else
typedef int32_t integer;
#define SIGN 0x7fffffff
#endif
typedef integer ivec __attribute__((vector_size(WIDTH * sizeof(integer))));

#define INLINE static inline __attribute__((always_inline))

INLINE vec magnitude(vec a) { return (vec)((ivec)a & (ivec){} + (integer)SIGN); }

/* lane l: a[l] + a[l^h] where bit h of l is clear, else b[l] + b[l^h] */
INLINE vec merge(vec a, vec b, const int h) {
  ivec straight, crossed;
  for (int l = 0; l < WIDTH; l++) {
    straight[l] = (l & h) ? WIDTH + l : l;
    crossed[l] = (l & h) ? WIDTH + (l ^ h) : (l ^ h);
  }
  return __builtin_shuffle(a, b, straight) + __builtin_shuffle(a, b, crossed);
}

/* lane l of the result: the sum over the lanes of p[l] */
INLINE vec sums(vec *p) {
#if WIDTH >= 16
  for (int i = 0; i < 8; i++) p[i] = merge(p[i], p[i + 8], 8);
#endif
#if WIDTH >= 8
  for (int i = 0; i < 4; i++) p[i] = merge(p[i], p[i + 4], 4);
#endif
#if WIDTH >= 4
  for (int i = 0; i < 2; i++) p[i] = merge(p[i], p[i + 2], 2);
#endif
  return merge(p[0], p[1], 1);
}

INLINE REAL sum(vec a) {
  REAL s = 0;
  for (int l = 0; l < WIDTH; l++) s += a[l];
  return s;
}

typedef struct {
  int n_inputs, n_units, n_outputs;
  const int32_t *in_ptr, *in_src, *out_ptr, *out_dst, *out_edge;
  const REAL *w, *b, *out_w, *X, *T; /* X[tile][input][lane], T[tile][output][lane] */
} network;

typedef struct {
  const network *net;
  int first, last;  /* tiles */
  REAL *z, *gw, *gb; /* its own: rows*LANES, edges (+WIDTH), units */
} task;

static void forward(const network *net, REAL *z) {
  const vec one = (vec){} + (REAL)1;
  const int hidden = net->n_units - net->n_outputs;
  for (int j = 0; j < net->n_units; j++) {
    vec a[VECTORS];
    for (int v = 0; v < VECTORS; v++) a[v] = (vec){} + net->b[j];
    for (int e = net->in_ptr[j]; e < net->in_ptr[j + 1]; e++) {
      const vec *source = (const vec *)(z + (size_t)net->in_src[e] * LANES);
      const vec w = (vec){} + net->w[e];
      for (int v = 0; v < VECTORS; v++) a[v] += w * source[v];
    }
    vec *out = (vec *)(z + (size_t)(net->n_inputs + j) * LANES);
    for (int v = 0; v < VECTORS; v++) out[v] = j < hidden ? a[v] / (one + magnitude(a[v])) : a[v];
  }
}

/* one outgoing edge e: adds w_e delta to `back`, and leaves the products delta_n z_n in *p */
INLINE void edge(const network *net, const REAL *z, int e, const vec *own, vec *back, vec *p) {
  const vec *delta = (const vec *)(z + (size_t)net->out_dst[e] * LANES);
  const vec w = (vec){} + net->out_w[e];
  vec s = (vec){};
  for (int v = 0; v < VECTORS; v++) back[v] += w * delta[v], s += delta[v] * own[v];
  *p = s;
}

static void reverse(const network *net, REAL *z, REAL *gw, REAL *gb) {
  const vec one = (vec){} + (REAL)1;
  const int last = net->n_inputs + net->n_units - net->n_outputs;
  for (int i = last - 1; i >= 0; i--) {
    vec own[VECTORS], back[VECTORS];
    vec *row = (vec *)(z + (size_t)i * LANES);
    for (int v = 0; v < VECTORS; v++) own[v] = row[v], back[v] = (vec){};
    const int end = net->out_ptr[i + 1];
    int e = net->out_ptr[i];
    for (; e + WIDTH <= end; e += WIDTH) {
      vec p[WIDTH];
      for (int q = 0; q < WIDTH; q++) edge(net, z, e + q, own, back, &p[q]);
      *(loose *)(gw + e) += sums(p);
    }
    if (e < end) {
      vec p[WIDTH];
      for (int q = 0; q < WIDTH; q++) p[q] = (vec){};
      for (int q = 0; q < end - e; q++) edge(net, z, e + q, own, back, &p[q]);
      const vec s = sums(p);
      for (int q = 0; q < end - e; q++) gw[e + q] += s[q];
    }
    if (i >= net->n_inputs) {
      vec s = (vec){};
      for (int v = 0; v < VECTORS; v++) {
        const vec slope = one - magnitude(own[v]);
        row[v] = back[v] * slope * slope;
        s += row[v];
      }
      gb[i - net->n_inputs] += sum(s);
    }
  }
}

static void *run(void *argument) {
  const task *t = argument;
  const network *net = t->net;
  const int edges = net->in_ptr[net->n_units], hidden = net->n_units - net->n_outputs;
  memset(t->gw, 0, sizeof(REAL) * edges);
  memset(t->gb, 0, sizeof(REAL) * net->n_units);
  for (int tile = t->first; tile < t->last; tile++) {
    memcpy(t->z, net->X + (size_t)tile * net->n_inputs * LANES, sizeof(REAL) * net->n_inputs * LANES);
    forward(net, t->z);
    for (int k = 0; k < net->n_outputs; k++) {
      vec *y = (vec *)(t->z + (size_t)(net->n_inputs + hidden + k) * LANES), s = (vec){};
      const vec *target = (const vec *)(net->T + ((size_t)tile * net->n_outputs + k) * LANES);
      for (int v = 0; v < VECTORS; v++) y[v] -= target[v], s += y[v];
      t->gb[hidden + k] += sum(s);
    }
    reverse(net, t->z, t->gw, t->gb);
  }
  return 0;
}

/* The gradient over `tiles` tiles, split evenly over the threads; gw by edge, gb by unit.  Returns 0, or a thread's error. */
int gradient(const network *net, int tiles, int threads, REAL **z, REAL **part_w, REAL **part_b, REAL *gw, REAL *gb) {
  pthread_t handle[64];
  task tasks[64];
  const int edges = net->in_ptr[net->n_units];
  for (int t = 0; t < threads; t++) {
    tasks[t] = (task){net, tiles * t / threads, tiles * (t + 1) / threads, z[t], part_w[t], part_b[t]};
    if (t) {
      const int failed = pthread_create(&handle[t], 0, run, &tasks[t]);
      if (failed) return failed;
    }
  }
  run(&tasks[0]);
  for (int t = 1; t < threads; t++) pthread_join(handle[t], 0);
  for (int e = 0; e < edges; e++) {
    REAL s = 0;
    for (int t = 0; t < threads; t++) s += part_w[t][e];
    gw[net->out_edge[e]] = s;
  }
  for (int j = 0; j < net->n_units; j++) {
    gb[j] = 0;
    for (int t = 0; t < threads; t++) gb[j] += part_b[t][j];
  }
  return 0;
}
