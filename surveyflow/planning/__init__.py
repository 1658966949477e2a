"""Work units, their keys, and the decision about which of them must be done. Pure: values in, values out."""
