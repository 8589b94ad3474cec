"""Networks in files: `gb.load(path)` and `net.save(path)`, and the graphs behind them.

    load, save                     Network ↔ file
    load_graph, save_graph         DiGraph ↔ file, of any format
    write_graph, read_graph_file   DiGraph and metadata ↔ graphbp's own format
    formats                        what there is
    write_atomically               a file whole or not at all

`dispatch.py` finds who reads a file, `contents.py` sees before one is written that its format holds what there is; `native.py` is
graphbp's own format, made of `values.py` (attributes as JSON) and `store.py` (arrays inline or beside, `archive.py` being .npz);
`reading.py` is how files are read, `atomic.py` how they are written.
"""

from graphbp.files.atomic import write_atomically
from graphbp.files.dispatch import Format, formats, load, load_graph, save, save_graph
from graphbp.files.native import read_graph_file, write_graph

__all__ = [
    "Format",
    "formats",
    "load",
    "load_graph",
    "read_graph_file",
    "save",
    "save_graph",
    "write_atomically",
    "write_graph",
]
