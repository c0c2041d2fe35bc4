# The pixel kernels for the CPU: FRAMETAP_KERNEL_SOURCES, to be compiled with frametap_options. Also included by tests/fuzz.

option(FRAMETAP_SANITIZE "Build with AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(FRAMETAP_WERROR "Turn warnings into errors" OFF)
set(csrc "${CMAKE_CURRENT_LIST_DIR}/../csrc")

add_library(frametap_options INTERFACE)
target_include_directories(frametap_options INTERFACE "${csrc}")
# No contraction: a multiply and an add must round the same way on every CPU and GPU.
target_compile_options(frametap_options INTERFACE -Wall -Wextra -Wconversion -ffp-contract=off
                                                  $<$<BOOL:${FRAMETAP_WERROR}>:-Werror>)
if(FRAMETAP_SANITIZE)
  set(sanitizers -fsanitize=address,undefined)
  target_compile_options(frametap_options INTERFACE ${sanitizers} -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g)
  target_link_options(frametap_options INTERFACE ${sanitizers})
endif()

# One source, one object per instruction set, one namespace each; chosen at run time.
set(FRAMETAP_ISAS base)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND FRAMETAP_ISAS avx2 avx512)
  target_compile_definitions(frametap_options INTERFACE FRAMETAP_X86)
endif()
set(FRAMETAP_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(FRAMETAP_FLAGS_avx512 ${FRAMETAP_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # gcc 12 warns about its own AVX-512 headers (GCC bug 105593).
  list(APPEND FRAMETAP_FLAGS_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
foreach(isa IN LISTS FRAMETAP_ISAS)
  add_library(kernels_${isa} OBJECT "${csrc}/kernels/rows_cpu.cpp")
  target_link_libraries(kernels_${isa} PRIVATE frametap_options)
  target_compile_definitions(kernels_${isa} PRIVATE FRAMETAP_ISA=${isa})
  target_compile_options(kernels_${isa} PRIVATE -O3 ${FRAMETAP_FLAGS_${isa}})
  list(APPEND FRAMETAP_KERNEL_SOURCES $<TARGET_OBJECTS:kernels_${isa}>)
endforeach()

list(APPEND FRAMETAP_KERNEL_SOURCES
  "${csrc}/core/color.cpp"
  "${csrc}/core/pixel_format.cpp"
  "${csrc}/kernels/converter.cpp"
  "${csrc}/kernels/cpu_dispatch.cpp"
  "${csrc}/kernels/cuda_tables.cpp"
  "${csrc}/kernels/filter.cpp"
  "${csrc}/kernels/horizontal_pack.cpp"
  "${csrc}/kernels/horizontal_stage.cpp"
  "${csrc}/kernels/plan.cpp"
  "${csrc}/kernels/scratch.cpp"
  "${csrc}/kernels/store.cpp"
  "${csrc}/kernels/tone_tables.cpp")
