#include "picture_params.h"

namespace emu {

std::unique_ptr<PictureParamsDecoder> open_picture_params(const CUVIDDECODECREATEINFO&) { return nullptr; }

}  // namespace emu
