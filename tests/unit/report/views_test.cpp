// Every view says the same numbers; what stands in them is exact.
#include "userspace/report/views.h"

#include <catch2/catch.hpp>
#include <sstream>

#include "tests/unit/report/snapshot_maker.h"
#include "userspace/report/difference.h"
#include "userspace/report/text.h"

using namespace unfreed;

namespace {

Profile sample_profile() {
    return profile_of({{{"main", "parse", "malloc"}, 3000, 100, 10},
                       {{"main", "draw", "malloc"}, 1000, 100, 60},
                       {{"main", "draw", "malloc"}, 500, 100, 0}});
}

using View = void (*)(const Profile&, const ViewOptions&, std::ostream&);
std::string text_of(View view, const Profile& profile, const ViewOptions& options = {}) {
    std::ostringstream out;
    view(profile, options, out);
    return out.str();
}

std::string report(const Profile& profile, const TextOptions& options = {}) {
    std::ostringstream out;
    write_text(profile, options, out);
    return out.str();
}

}  // namespace

TEST_CASE("folded: one line per path, outermost first, the heaviest on top") {
    CHECK(text_of(write_folded, sample_profile()) == "main;parse;malloc 3000\nmain;draw;malloc 1500\n");
}

TEST_CASE("folded: the value and the number of paths can be chosen") {
    ViewOptions options;
    options.value = Value::kAllocObjects;
    options.top = 1;
    CHECK(text_of(write_folded, sample_profile(), options) == "main;draw;malloc 4\n");
}

TEST_CASE("folded: a separator in a name is replaced") {
    CHECK(text_of(write_folded, profile_of({{{"a;b\n", "malloc"}, 8}})) == "a:b?;malloc 8\n");
}

TEST_CASE("blocks of different shapes at one call path stay apart") {
    Profile profile = sample_profile();
    profile.samples[1].shape = profile.strings.intern("480x640 CV_32FC1");
    CHECK(text_of(write_folded, profile) ==
          "main;parse;malloc 3000\nmain;draw;malloc;480x640 CV_32FC1 1000\nmain;draw;malloc 500\n");
}

TEST_CASE("inlined frames are frames of their own") {
    Profile profile = profile_of({{{"main", "malloc"}, 8}});
    // Put an inlined function into main's location: lines are innermost first.
    const StringIndex name = profile.strings.intern("inlined");
    profile.functions.push_back({name, name, 0, 0});
    Profile::Location& main = profile.locations[profile.nodes[1].location];
    const Profile::Line own = profile.lines[main.first_line];
    main.first_line = static_cast<std::uint32_t>(profile.lines.size());
    main.line_count = 2;
    profile.lines.push_back({static_cast<std::uint32_t>(profile.functions.size() - 1), 7});
    profile.lines.push_back(own);
    CHECK(text_of(write_folded, profile) == "main;inlined;malloc 8\n");
}

TEST_CASE("text: the header, the paths, the tree and the loss statement") {
    const std::string text = report(sample_profile());
    CHECK_THAT(text, Catch::StartsWith("app --flag\npreload, every allocation, traced for 2.50 s until "));
    CHECK_THAT(text, Catch::Contains("\nnot freed: 4.4 KiB in 3 blocks, of 8.8 KiB in 6 blocks allocated\n"));
    CHECK_THAT(text, Catch::Contains("\n2 of 2 call paths that hold the most: 100.0 % of it\n"));
    CHECK_THAT(text, Catch::Contains("\n#1 2.9 KiB in 1 block, 66.7 %, 10 s to 1 min old\n"
                                     "    malloc\n    parse\n    main\n"));
    CHECK_THAT(text, Catch::Contains("\n#2 1.5 KiB in 2 blocks, 33.3 %, under 10 min old\n"
                                     "    malloc\n    draw\n    main\n"));
    CHECK_THAT(text, Catch::Contains("    4.4 KiB  100.0 %  main\n"
                                     "    2.9 KiB   66.7 %    parse\n"
                                     "                        malloc\n"
                                     "    1.5 KiB   33.3 %    draw\n"
                                     "                        malloc\n"));
    CHECK_THAT(text, Catch::EndsWith("\nnothing lost\n"));
    CHECK_THAT(text, !Catch::Contains("\033"));
}

TEST_CASE("text: losses come one per line, and not knowing them is said") {
    Profile profile = sample_profile();
    profile.losses = std::vector<std::string>{"3 of these", "4 of those"};
    CHECK_THAT(report(profile),
               Catch::EndsWith("What is missing from these numbers\n  3 of these\n  4 of those\n"));
    profile.losses.reset();
    CHECK_THAT(report(profile), Catch::Contains("what was lost is not known"));
}

TEST_CASE("text: no line is wider than the terminal, and a long path loses its middle") {
    NamedPath path{{}, 100};
    for (int i = 0; i < 60; ++i) {
        path.functions.push_back("a_namespace::a_function_with_a_long_name<with, arguments>(and_parameters)" +
                                 std::to_string(i));
    }
    TextOptions options;
    options.terminal.width = 60;
    const std::string text = report(profile_of({path}), options);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        INFO(line);
        // Words of ours are not cut, only names are.
        CHECK((line.size() <= 60 || line.find("a_namespace") == std::string::npos));
    }
    CHECK_THAT(text, Catch::Contains("    ... 40 more\n"));
}

TEST_CASE("text: several processes are listed with what they hold") {
    const std::string text = report(profile_of({{{"main", "malloc"}, 10, 7}, {{"main", "malloc"}, 30, 8}}));
    CHECK_THAT(text, Catch::Contains("2 processes\n        30 B        8 app  in 1 block\n"
                                     "        10 B        7 app  in 1 block\n"));
}

TEST_CASE("a profile without samples is a report too") {
    const Profile empty = profile_of({});
    CHECK_THAT(report(empty), Catch::Contains("not freed: 0 B in 0 blocks\n"));
    CHECK(text_of(write_folded, empty).empty());
    CHECK_THAT(text_of(write_flame_graph, empty), Catch::Contains("nothing to show"));
}

TEST_CASE("json: frames once, paths by index, the loss statement") {
    const std::string json = text_of(write_json, sample_profile());
    CHECK_THAT(json, Catch::Contains("\"loss_statement\": [\"nothing lost\"]"));
    CHECK_THAT(json, Catch::Contains("\"bytes\": 4500,\n\"blocks\": 3,"));
    CHECK_THAT(json,
               Catch::Contains("\"frames\": [\n{\"function\": \"malloc\"},\n{\"function\": \"parse\"},"));
    CHECK_THAT(json, Catch::Contains(
                         "{\"bytes\": 3000, \"blocks\": 1, \"youngest\": 10, \"oldest\": 10, \"frames\": "
                         "[0, 1, 2]}"));
}

TEST_CASE("the flame graph gives each frame its place and its size") {
    const std::string svg = text_of(write_flame_graph, sample_profile());
    CHECK_THAT(svg, Catch::Contains("data-x=\"0.00000000\" data-w=\"1.00000000\" data-d=\"1\"><title>main\n"
                                    "4.4 KiB in 3 blocks, 100.0 %</title>"));
    CHECK_THAT(svg,
               Catch::Contains("data-x=\"0.00000000\" data-w=\"0.33333333\" data-d=\"2\"><title>draw\n"));
    CHECK_THAT(svg,
               Catch::Contains("data-x=\"0.33333333\" data-w=\"0.66666667\" data-d=\"2\"><title>parse\n"));
    CHECK(svg.find("<title>draw") < svg.find("<title>parse"));  // as the search in the graph counts on
    CHECK_THAT(svg, Catch::Contains(">nothing lost</text>"));
}

TEST_CASE("names cannot break out of the markup") {
    const Profile profile = profile_of({{{"</title><script>\"'&]]>", "malloc"}, 8}});
    for (const View view : {write_flame_graph, write_html}) {
        const std::string markup = text_of(view, profile);
        CHECK_THAT(markup, Catch::Contains("&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;]]&gt;"));
        CHECK_THAT(markup, !Catch::Contains("</title><script>\""));
    }
}

TEST_CASE("html: the graph, the paths and the losses") {
    Profile profile = sample_profile();
    profile.losses = std::vector<std::string>{"3 of these"};
    const std::string html = text_of(write_html, profile);
    CHECK_THAT(html, Catch::Contains("<svg class=\"flame\""));
    CHECK_THAT(html, Catch::Contains("<td class=\"number\">2.9 KiB</td><td class=\"number\">1</td>"));
    CHECK_THAT(html, Catch::Contains("<li>3 of these</li>"));
}

TEST_CASE("a difference has what grew and what shrank, and what stayed is not there") {
    const Profile changed = difference(
        profile_of(
            {{{"main", "a", "malloc"}, 100}, {{"main", "b", "malloc"}, 50}, {{"main", "same", "malloc"}, 7}}),
        profile_of({{{"main", "same", "malloc"}, 7},
                    {{"main", "a", "malloc"}, 300},
                    {{"main", "new", "malloc"}, 20}}));
    CHECK(text_of(write_folded, changed) == "main;a;malloc 200\nmain;b;malloc -50\nmain;new;malloc 20\n");
    const std::string text = report(changed);
    CHECK_THAT(text, Catch::Contains("not freed: +170 B in 0 blocks against the profile before\n"));
    CHECK_THAT(text, Catch::Contains("2 of 2 call paths that grew the most\n\n#1 +200 B in 0 blocks\n"));
    CHECK_THAT(text, Catch::Contains("1 of 1 call paths that shrank the most\n\n#1 -50 B in -1 block\n"));
}

TEST_CASE("a process of the run before is the one of its name in the run after") {
    const auto pids = [](const std::vector<NamedPath>& before, const std::vector<NamedPath>& after) {
        std::vector<std::uint32_t> all;
        for (const Profile::Sample& sample : difference(profile_of(before), profile_of(after)).samples) {
            all.push_back(sample.pid);
        }
        return all;
    };
    const auto one = [](std::uint32_t pid) { return NamedPath{{"main"}, 1, pid}; };
    using Pids = std::vector<std::uint32_t>;
    CHECK(pids({one(10)}, {one(20)}) == Pids{20, 20});
    CHECK(pids({one(11), one(10)}, {one(20), one(21)}) == Pids{20, 21, 21, 20});
    CHECK(pids({one(20), one(21)}, {one(21), one(30)}) == Pids{21, 30, 30, 21});  // 21 goes on
    CHECK(pids({one(10), one(11)}, {one(20)}) == Pids{20, 20, 11});
}

TEST_CASE("the flame graph of a difference shows growth only") {
    const Profile changed =
        difference(profile_of({{{"main", "shrunk"}, 100}}), profile_of({{{"main", "grown"}, 30}}));
    const std::string svg = text_of(write_flame_graph, changed);
    CHECK_THAT(svg, Catch::Contains("data-w=\"1.00000000\" data-d=\"2\"><title>grown\n30 B"));
    CHECK_THAT(svg, !Catch::Contains("shrunk"));
}

TEST_CASE("json lists the frames of the paths that it lists, and no others") {
    const std::vector<NamedPath> same{{{"main", "same"}, 7}};
    CHECK_THAT(text_of(write_json, difference(profile_of(same), profile_of(same))),
               Catch::Contains("\"frames\": [\n],\n\"paths\": [\n]"));
    ViewOptions options;
    options.top = 1;
    CHECK_THAT(text_of(write_json, profile_of({{{"main", "b"}, 1}, {{"main", "a"}, 2}}), options),
               Catch::Contains("{\"function\": \"a\"},\n{\"function\": \"main\"}\n],") &&
                   Catch::Contains("\"frames\": [0, 1]}\n]"));
}

TEST_CASE("losses of both profiles are losses of their difference") {
    Profile before = profile_of({{{"main"}, 1}});
    Profile after = profile_of({{{"main"}, 2}});
    before.losses->push_back("3 of these");
    CHECK(*difference(std::move(before), std::move(after)).losses ==
          std::vector<std::string>{"before: 3 of these"});
}

TEST_CASE("profiles of different builds are compared by function") {
    const auto build = [](const char* id, std::uint64_t offset) {
        SnapshotMaker maker;
        const auto app = maker.module("/nowhere/app", 0);
        maker.snapshot.modules[app].build_id = id;
        maker.sample(maker.path({maker.call(app, offset), maker.function("malloc")}), 1, 8);
        Profile profile = maker.profile();
        const StringIndex main = profile.strings.intern("main");
        profile.functions[profile.lines[profile.locations[1].first_line].function].name = main;
        profile.lines[profile.locations[1].first_line].line = static_cast<std::int64_t>(offset);
        return profile;
    };
    CHECK_THAT(report(difference(build("aa", 0x11), build("bb", 0x21))),
               Catch::Contains("compared by function") && !Catch::Contains("grew the most"));
    CHECK_THAT(report(difference(build("aa", 0x11), build("aa", 0x21))),
               Catch::Contains("1 of 1 call paths that grew"));
}
