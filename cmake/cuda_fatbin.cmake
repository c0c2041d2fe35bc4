set(FRAMETAP_FATBIN_SOURCE csrc/kernels/cuda_fatbin_none.cpp)
