// Decoding from CUVIDPICPARAMS alone, for clients that bring a parser of their own.
#pragma once

#include <memory>

#include "abi.h"
#include "picture.h"

namespace emu {

class PictureParamsDecoder {
 public:
  virtual ~PictureParamsDecoder() = default;
  // Null if the parameters do not decode.
  virtual PicturePtr decode(const CUVIDPICPARAMS& params) = 0;
};

// Null for codecs whose headers cannot be rebuilt here.
std::unique_ptr<PictureParamsDecoder> open_picture_params(const CUVIDDECODECREATEINFO& info);

}  // namespace emu
