// Numbers and names as people read them.
#include "userspace/report/format.h"

#include <catch2/catch.hpp>
#include <limits>

#include "userspace/snapshot/age_bucket.h"

using namespace unfreed;

TEST_CASE("sizes have a binary unit") {
    CHECK(bytes_text(0) == "0 B");
    CHECK(bytes_text(1023) == "1023 B");
    CHECK(bytes_text(1024) == "1.0 KiB");
    CHECK(bytes_text(1024 * 1024 - 1) == "1.0 MiB");
    CHECK(bytes_text(-3 * 1024 / 2) == "-1.5 KiB");
    CHECK(bytes_text(std::numeric_limits<std::int64_t>::min()) == "-8.0 EiB");
}

TEST_CASE("counts have their thousands apart") {
    CHECK(count_text(999) == "999");
    CHECK(count_text(1234567) == "1,234,567");
    CHECK(count_text(-1000) == "-1,000");
    CHECK(blocks_text(1) == "1 block");
}

TEST_CASE("an age is the range of its buckets") {
    CHECK(age_text({}).empty());
    CHECK(age_text({0, 0}) == "under 1 s old");
    CHECK(age_text({1, 10}) == "1 s to 1 min old");
    CHECK(age_text({365 * 86400, 365 * 86400}) == "over 365 d old");
}

TEST_CASE("an age falls in the bucket that starts at or below it") {
    CHECK(age_bucket(0) == 0);
    CHECK(age_bucket(9) == 1);
    CHECK(age_bucket(10) == 10);
    CHECK(age_bucket(100ull * 365 * 86400) == 365 * 86400);
    CHECK(age_bucket_end(1) == 10);
    CHECK(age_bucket_end(365 * 86400) == 0);
}

TEST_CASE("a name that fits stays, else its lists go, then its middle") {
    const std::string name = "std::map<int, long>::insert(std::pair<int, long>)";
    CHECK(fit_name(name, 0) == name);
    CHECK(fit_name(name, name.size()) == name);
    CHECK(fit_name(name, 30) == "std::map<...>::insert(...)");
    CHECK(fit_name("a_function_whose_name_goes_on_and_on", 20) == "a_function_...and_on");
}

TEST_CASE("what could harm a terminal or an XML reader is replaced") {
    CHECK(printable("a\033[31mb\nc") == "a?[31mb?c");
    CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    CHECK(printable("\xff\xc3") == "??");
    CHECK(printable("\xed\xa0\x80") == "???");       // a surrogate
    CHECK(printable("\xef\xbf\xbf") == "???");       // not a character
    CHECK(printable("\xc0\x80") == "??");            // longer than need be
    CHECK(printable("\xf4\x90\x80\x80") == "????");  // beyond the last
}

TEST_CASE("a cut never splits a character") {
    const std::string umlauts =
        "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4";
    for (std::size_t width = 4; width < 10; ++width) {
        const std::string fitted = fit_text(umlauts, width);
        CHECK(printable(fitted) == fitted);
    }
}
