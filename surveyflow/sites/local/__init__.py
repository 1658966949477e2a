"""The kind ``local``: worker processes on this machine."""
