// Function names as a person reads them. The whole names are libiberty's, as they come out of real programs.
#include "userspace/report/short_name.h"

#include <catch2/catch.hpp>

using namespace unfreed;

TEST_CASE("a name without long lists stays as it is") {
    for (const char* const name :
         {"malloc", "work(int)", "std::vector<Item>::push_back(Item const&)", "node::Start(int, char**)",
          "(anonymous namespace)::Cache::get(int) const", "main.(*Server).Handle", "type..eq.[2]interface {}",
          "cc1plus+0xd801dd [stripped, and no debug file found]", "operator new(unsigned long)",
          "Thing::operator unsigned long() const", "parse() [clone .cold]", "f(g<(h)2>)", ""}) {
        CHECK(short_name(name) == name);
    }
}

TEST_CASE("std::string is called that") {
    CHECK(short_name(
              "f(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> > const&)") ==
          "f(std::string const&)");
}

TEST_CASE("arguments that a library adds by default go") {
    CHECK(short_name("std::vector<int, std::allocator<int> >::_M_realloc_insert(int const&)") ==
          "std::vector<int>::_M_realloc_insert(int const&)");
    CHECK(short_name(
              "std::map<int, Item, std::less<int>, std::allocator<std::pair<int const, Item> > >::size()") ==
          "std::map<int, Item>::size()");
}

TEST_CASE("lists that are long become three dots, from the outermost that is too wide") {
    CHECK(short_name("std::_Rb_tree<std::pair<int, long>, std::pair<std::pair<int, long> const, Item>, "
                     "std::_Select1st<std::pair<std::pair<int, long> const, Item> > >::_M_insert_(Item&)") ==
          "std::_Rb_tree<...>::_M_insert_(Item&)");
    CHECK(short_name("ggc_internal_alloc(unsigned long, void (*)(void*), unsigned long, unsigned long)") ==
          "ggc_internal_alloc(...)");
    CHECK(short_name("f<g<int> >(int)", 0) == "f<...>(...)");
    CHECK(short_name("f()", 0) == "f()");
}

TEST_CASE("the return type of a template goes") {
    CHECK(short_name("void std::vector<int>::emplace_back<int>(int&&)") ==
          "std::vector<int>::emplace_back<int>(int&&)");
    CHECK(short_name("std::pair<int, long>& make<int>(int) [clone .part.0]") ==
          "make<int>(int) [clone .part.0]");
    CHECK(short_name("decltype(auto) visit<int>(int)") == "visit<int>(int)");
    CHECK(short_name("std::ostream& std::operator<< <char>(std::ostream&, char)") ==
          "std::operator<< <char>(std::ostream&, char)");
}

TEST_CASE("operators keep the characters that they are made of") {
    CHECK(short_name("std::set<int, long>::operator<(int) const", 0) ==
          "std::set<...>::operator<(...) const");
    CHECK(short_name("functor<int>::operator()(long) const", 0) == "functor<...>::operator()(...) const");
    CHECK(short_name("p<int>::operator->(int)", 0) == "p<...>::operator->(...)");
    CHECK(short_name("my_operator<int>(int)", 0) == "my_operator<...>(...)");
}

TEST_CASE("a lambda keeps the function that it is in") {
    CHECK(short_name("work(int)::{lambda(Thing&)#1}::operator()(Thing&) const", 3) ==
          "work(int)::{lambda(...)#1}::operator()(...) const");
    CHECK(
        short_name("std::_Function_handler<void (Thing&), work(int)::{lambda(Thing&)#1}>::_M_invoke(int)") ==
        "std::_Function_handler<...>::_M_invoke(int)");
}

TEST_CASE("a Rust implementation keeps the type that it is of") {
    CHECK(short_name("<alloc::vec::Vec<T, A> as core::ops::drop::Drop>::drop", 0) ==
          "<alloc::vec::Vec<...> as core::ops::drop::Drop>::drop");
    CHECK(short_name("<F as core::ops::FnOnce<(A) -> B>>::call_once<C>", 0) ==
          "<F as core::ops::FnOnce<...>>::call_once<...>");
}

TEST_CASE("a name whose brackets do not match comes back whole, however deep they are") {
    for (const std::string& name :
         {std::string("f<(>"), std::string(100'000, '<'), "a>" + std::string(50'000, '('),
          std::string("operator"), std::string("x)<"), std::string("f<a")}) {
        CHECK(short_name(name) == name);
    }
    CHECK(short_name("f" + std::string(50'000, '<') + std::string(50'000, '>')).size() < 50);
}
