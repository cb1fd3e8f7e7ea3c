"""The operations of the interface, one file for each thing that it speaks about."""
