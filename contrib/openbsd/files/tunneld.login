# A thread and a descriptor for each connection; twice the descriptors to be safe. The number of
# threads is the machine's, kern.maxthread, and no limit of a class.
tunneld:\
	:openfiles-cur=8192:\
	:openfiles-max=32768:\
	:maxproc-cur=64:\
	:maxproc-max=128:\
	:datasize-cur=2048M:\
	:datasize-max=infinity:\
	:tc=daemon:
