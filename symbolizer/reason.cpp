#include "symbolizer/symbolizer.h"

namespace unfreed::symbolizer {

std::string_view text(Reason reason) {
    switch (reason) {
        case Reason::kNone:
            return "";
        case Reason::kNoFile:
            return "the file is not there any more";
        case Reason::kUnreadable:
            return "the file may not be read";
        case Reason::kFileReplaced:
            return "the file there now is another build";
        case Reason::kNotElf:
            return "not an ELF file";
        case Reason::kDamaged:
            return "a damaged ELF file";
        case Reason::kNoSymbols:
            return "stripped, and no debug file found";
        case Reason::kNoSymbolHere:
            return "no symbol covers this address";
        case Reason::kJit:
            return "code made at run time";
        case Reason::kOutsideModule:
            return "not an address of this module";
    }
    return "";
}

}  // namespace unfreed::symbolizer
