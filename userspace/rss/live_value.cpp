#include "userspace/rss/live_value.h"

#include <dwarf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace unfreed::rss {
namespace {

std::string_view name_of(Dwarf_Die& die) {
    const char* const name = dwarf_diename(&die);
    return name == nullptr ? std::string_view{} : name;
}

// The type of `die`, without names for it (typedef) and qualifiers.
bool type_of(Dwarf_Die& die, Dwarf_Die* type) {
    Dwarf_Attribute attribute;
    if (dwarf_attr_integrate(&die, DW_AT_type, &attribute) == nullptr ||
        dwarf_formref_die(&attribute, type) == nullptr)
        return false;
    return dwarf_peel_type(type, type) == 0;
}

// Go's linker writes a location as a plain block before DWARF 5, which dwarf_getlocation() does not take.
bool address_of(Dwarf_Die& variable, std::uint64_t* address) {
    Dwarf_Attribute attribute;
    Dwarf_Block block;
    if (dwarf_attr_integrate(&variable, DW_AT_location, &attribute) == nullptr ||
        dwarf_formblock(&attribute, &block) != 0 || block.length == 0)
        return false;
    if (block.data[0] == DW_OP_addr && block.length == 1 + sizeof *address) {
        std::memcpy(address, block.data + 1, sizeof *address);
        return true;
    }
    Dwarf_Op* expression = nullptr;
    std::size_t length = 0;
    Dwarf_Attribute indirect;
    return dwarf_getlocation(&attribute, &expression, &length) == 0 && length == 1 &&
           expression[0].atom == DW_OP_addrx &&
           dwarf_getlocation_attr(&attribute, &expression[0], &indirect) == 0 &&
           dwarf_formaddr(&indirect, address) == 0;
}

}  // namespace

LiveValue::LiveValue(const LiveProcess& process, std::uint64_t address, const Dwarf_Die& type)
    : process_(&process), address_(address), type_(type) {}

bool LiveValue::find(std::string_view member, Dwarf_Die* found) const {
    if (dwarf_tag(&type_) != DW_TAG_structure_type || dwarf_child(&type_, found) != 0) return false;
    do {
        if (name_of(*found) == member) return true;
    } while (dwarf_siblingof(found, found) == 0);
    return false;
}

bool LiveValue::has(std::string_view member) const {
    Dwarf_Die die;
    return find(member, &die);
}

LiveValue LiveValue::operator[](std::string_view member) const {
    Dwarf_Die die, type;
    Dwarf_Attribute attribute;
    Dwarf_Word offset = 0;
    if (!find(member, &die) || !type_of(die, &type) ||
        dwarf_attr(&die, DW_AT_data_member_location, &attribute) == nullptr ||
        dwarf_formudata(&attribute, &offset) != 0)
        throw Unknown("the program's DWARF has no member " + std::string(member));
    return {*process_, address_ + offset, type};
}

Dwarf_Die LiveValue::target() const {
    const int tag = dwarf_tag(&type_);
    Dwarf_Die type;
    if ((tag != DW_TAG_array_type && tag != DW_TAG_pointer_type) || !type_of(type_, &type))
        throw Unknown("a value of the program is no array and no pointer, in its DWARF");
    return type;
}

LiveValue LiveValue::element(std::uint64_t index) const {
    const bool pointer = dwarf_tag(&type_) == DW_TAG_pointer_type;
    LiveValue first{*process_, pointer ? number() : address_, target()};
    first.address_ += index * first.size();
    return first;
}

LiveValue LiveValue::pointee() const {
    return element(0);
}

std::uint64_t LiveValue::size() const {
    Dwarf_Word bytes = 0;
    if (dwarf_aggregate_size(&type_, &bytes) != 0) throw Unknown("a type of the program has no size");
    return bytes;
}

std::uint64_t LiveValue::element_count() const {
    const std::uint64_t one = element(0).size();
    return one == 0 ? 0 : size() / one;
}

std::uint64_t LiveValue::number() const {
    std::uint64_t value = 0;
    const std::uint64_t bytes = size();
    if (bytes == 0 || bytes > sizeof value)
        throw Unknown("a value of the program is no number, in its DWARF");
    if (!process_->read(address_, std::as_writable_bytes(std::span(&value, 1)).first(bytes)))
        throw Unknown("the process's memory could not be read");
    return value;
}

LiveUnit::LiveUnit(const LiveProcess& process, const std::string& path, std::uint64_t bias,
                   std::string_view unit)
    : process_(&process), bias_(bias), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    dwarf_ = dwarf_begin(descriptor_, DWARF_C_READ);
    Dwarf_CU* at = nullptr;
    Dwarf_CU* next = nullptr;
    Dwarf_Die die;
    for (; dwarf_ != nullptr && dwarf_get_units(dwarf_, at, &next, nullptr, nullptr, &die, nullptr) == 0;
         at = next)
        if (name_of(die) == unit) units_.push_back(die);
    if (!units_.empty()) return;
    const bool stripped = dwarf_ == nullptr;
    if (!stripped) dwarf_end(dwarf_);
    if (descriptor_ >= 0) close(descriptor_);
    throw Unknown(stripped ? "the file has no DWARF" : "the file's DWARF does not tell of the runtime");
}

LiveUnit::~LiveUnit() {
    dwarf_end(dwarf_);
    close(descriptor_);
}

LiveValue LiveUnit::variable(std::string_view name) const {
    Dwarf_Die die, type;
    std::uint64_t address = 0;
    for (Dwarf_Die unit : units_) {
        for (int end = dwarf_child(&unit, &die); end == 0; end = dwarf_siblingof(&die, &die))
            if (dwarf_tag(&die) == DW_TAG_variable && name_of(die) == name && type_of(die, &type) &&
                address_of(die, &address))
                return {*process_, address + bias_, type};
    }
    throw Unknown("the file's DWARF has no variable " + std::string(name));
}

}  // namespace unfreed::rss
