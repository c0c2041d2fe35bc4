// For unsupported.cpp, which must not see cuda.h's own declarations of what it defines.
#pragma once

namespace emu {

int refuse(const char* name);

}  // namespace emu
