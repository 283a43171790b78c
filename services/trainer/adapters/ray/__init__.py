"""Workers on the nodes of a Ray cluster.

The trainer keeps one driver of the cluster as a process of its own (`engine`), since Ray ends a
process that has lost its cluster. The driver has Ray find room for each worker (`driver`), and
there the very same worker runs as a process of its own (`node`), since a process of Ray has
threads and must not fork the processes of trials.
"""
