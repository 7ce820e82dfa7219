#include "symbolizer/die_name.h"

#include <dwarf.h>

namespace unfreed::symbolizer {
namespace {

std::string string_attribute(Dwarf_Die& die, unsigned name) {
    Dwarf_Attribute attribute;
    const char* text = dwarf_formstring(dwarf_attr_integrate(&die, name, &attribute));
    return text == nullptr ? std::string() : std::string(text);
}

// Where the function was declared: that DIE stands inside its namespaces and classes, while the one with the
// code often stands outside.
Dwarf_Die declaration_of(Dwarf_Die die) {
    for (int step = 0; step < 16; ++step) {  // a damaged file may lead in a circle
        Dwarf_Attribute attribute;
        Dwarf_Die origin;
        if (dwarf_formref_die(dwarf_attr(&die, DW_AT_abstract_origin, &attribute), &origin) == nullptr &&
            dwarf_formref_die(dwarf_attr(&die, DW_AT_specification, &attribute), &origin) == nullptr)
            break;
        die = origin;
    }
    return die;
}

std::string scope_name(Dwarf_Die& scope) {
    switch (dwarf_tag(&scope)) {
        case DW_TAG_namespace:
        case DW_TAG_module: {
            const char* name = dwarf_diename(&scope);
            return name == nullptr ? "(anonymous namespace)" : name;
        }
        case DW_TAG_class_type:
        case DW_TAG_structure_type:
        case DW_TAG_union_type:
        case DW_TAG_subprogram: {
            const char* name = dwarf_diename(&scope);
            return name == nullptr ? "" : name;
        }
        default:
            return "";
    }
}

// The scopes around `die`, as "a::b::". DIEs do not know their parents, but stand in the order of the tree:
// at each level the last one at or before `die` leads to it, so no other subtree is looked into.
std::string scopes_of(Dwarf_Die die) {
    Dwarf_Die scope;
    std::string scopes;
    const Dwarf_Off wanted = dwarf_dieoffset(&die);
    if (dwarf_diecu(&die, &scope, nullptr, nullptr) == nullptr) return scopes;
    for (int depth = 0; depth < 64; ++depth) {
        Dwarf_Die at;
        if (dwarf_child(&scope, &at) != 0 || dwarf_dieoffset(&at) > wanted) return scopes;
        for (Dwarf_Die next; dwarf_siblingof(&at, &next) == 0; at = next)
            if (dwarf_dieoffset(&next) > wanted || dwarf_dieoffset(&next) <= dwarf_dieoffset(&at)) break;
        if (dwarf_dieoffset(&at) == wanted) return scopes;
        if (const std::string name = scope_name(at); !name.empty()) scopes += name + "::";
        scope = at;
    }
    return scopes;
}

}  // namespace

std::string linkage_name(Dwarf_Die& function) {
    std::string name = string_attribute(function, DW_AT_linkage_name);
    return name.empty() ? string_attribute(function, DW_AT_MIPS_linkage_name) : name;
}

std::string source_name(Dwarf_Die& function, bool with_scopes) {
    const std::string name = string_attribute(function, DW_AT_name);
    return name.empty() || !with_scopes ? name : scopes_of(declaration_of(function)) + name;
}

}  // namespace unfreed::symbolizer
