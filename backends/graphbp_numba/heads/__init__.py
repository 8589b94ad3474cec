"""Where the error meets the outputs: y, E, δ and curvature of heads."""
