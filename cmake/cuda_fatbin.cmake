# Compiles kernels_cuda.cu to a fat binary and embeds it. Sets FRAMETAP_FATBIN_SOURCE, and FRAMETAP_CUDA_INCLUDE_DIR
# (where cuda.h is) unless there is no nvcc.
#
# nvcc is the machine's own (CUDACXX, PATH, /usr/local/cuda) or else the one of the nvidia-cuda-nvcc wheel, which
# build-system.requires puts into every Linux build. Without any, the extension is built without CUDA kernels, and says so.

function(frametap_nvcc_works path result)
  execute_process(COMMAND "${path}" --version RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(failed)
    set(${result} OFF PARENT_SCOPE)
  else()
    set(${result} ON PARENT_SCOPE)
  endif()
endfunction()

function(frametap_find_nvcc result)
  find_program(system_nvcc nvcc PATHS /usr/local/cuda/bin NO_CACHE)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import nvidia, pathlib; print(next(f for p in nvidia.__path__ for f in pathlib.Path(p).glob('cu1*/bin/nvcc')))"
    OUTPUT_VARIABLE wheel_nvcc OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  foreach(candidate IN ITEMS "$ENV{CUDACXX}" "${system_nvcc}" "${wheel_nvcc}")
    if(EXISTS "${candidate}")
      frametap_nvcc_works("${candidate}" works)
      if(works)
        set(${result} "${candidate}" PARENT_SCOPE)
        return()
      endif()
    endif()
  endforeach()
  set(${result} "" PARENT_SCOPE)
endfunction()

option(FRAMETAP_CUDA "Compile the CUDA kernels when an nvcc can be found" ON)
set(FRAMETAP_FATBIN_SOURCE csrc/kernels/cuda_fatbin_none.cpp)
if(FRAMETAP_CUDA)
  frametap_find_nvcc(FRAMETAP_NVCC_FOUND)
endif()
if(NOT FRAMETAP_NVCC_FOUND)
  message(STATUS "frametap: no nvcc; building without CUDA kernels")
  return()
endif()
message(STATUS "frametap: CUDA kernels by ${FRAMETAP_NVCC_FOUND}")
get_filename_component(nvcc_folder "${FRAMETAP_NVCC_FOUND}" REALPATH)
get_filename_component(nvcc_folder "${nvcc_folder}" DIRECTORY)
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
          "import nvidia, pathlib; print(next(f.parent for p in nvidia.__path__ for f in pathlib.Path(p).glob('cu1*/include/cuda.h')))"
  OUTPUT_VARIABLE wheel_include OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
find_path(FRAMETAP_CUDA_INCLUDE_DIR cuda.h HINTS "${nvcc_folder}/../include" "${wheel_include}" PATHS /usr/local/cuda/include
          NO_DEFAULT_PATH NO_CACHE REQUIRED)

set(FRAMETAP_CUDA_ARCHITECTURES 75 80 86 89 90 100 120 CACHE STRING "GPU architectures to compile machine code for")
list(GET FRAMETAP_CUDA_ARCHITECTURES -1 newest)
set(gencode -gencode=arch=compute_${newest},code=compute_${newest})  # later GPUs compile this PTX when they load it
foreach(arch IN LISTS FRAMETAP_CUDA_ARCHITECTURES)
  list(APPEND gencode -gencode=arch=compute_${arch},code=sm_${arch})
endforeach()
set(fatbin "${CMAKE_CURRENT_BINARY_DIR}/kernels_cuda.fatbin")
set(cuda_source "${CMAKE_CURRENT_SOURCE_DIR}/csrc/kernels/kernels_cuda.cu")
# -fmad=false: no contraction, as -ffp-contract=off does for the CPU.
add_custom_command(
  OUTPUT "${fatbin}"
  COMMAND "${FRAMETAP_NVCC_FOUND}" -fatbin -std=c++17 -O3 -fmad=false --threads 2 ${gencode}
          -I "${CMAKE_CURRENT_SOURCE_DIR}/csrc" -o "${fatbin}" "${cuda_source}"
  DEPENDS "${cuda_source}" csrc/kernels/pixel.h csrc/kernels/cuda_params.h csrc/kernels/tone_map.h csrc/core/color_matrix.h
  COMMENT "Compiling CUDA kernels"
  VERBATIM)
configure_file(cmake/cuda_fatbin.cpp.in "${CMAKE_CURRENT_BINARY_DIR}/cuda_fatbin.cpp" @ONLY)
set(FRAMETAP_FATBIN_SOURCE "${CMAKE_CURRENT_BINARY_DIR}/cuda_fatbin.cpp")
set_source_files_properties("${FRAMETAP_FATBIN_SOURCE}" PROPERTIES OBJECT_DEPENDS "${fatbin}")
