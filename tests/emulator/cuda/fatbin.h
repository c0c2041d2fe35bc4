// The one image that cuModuleLoadData accepts: the fat binary of this project's kernels.
#pragma once

namespace emu {

enum class Image {
  ours,
  ours_for_other_gpus,  // no machine code for this GPU, nor PTX that it could compile
  other,
};

// `major` and `minor` are the compute capability of the GPU.
Image identify(const void* image, int major, int minor);

}  // namespace emu
