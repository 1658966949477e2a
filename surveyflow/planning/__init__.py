"""Work units, their keys, and the decision what must be done. Pure: values in, values out."""
