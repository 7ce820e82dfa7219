#include "userspace/process/inspect_program.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "userspace/error.h"

using namespace unfreed;

namespace {

// A folder of its own for the programs of one test.
struct Folder {
    std::filesystem::path path;
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "unfreed-test-XXXXXX").string();
        path = mkdtemp(name.data());
    }
    ~Folder() { std::filesystem::remove_all(path); }

    std::string put(const std::string& name, const std::string& bytes, mode_t mode = 0755) const {
        const std::string file = path / name;
        std::ofstream(file, std::ios::binary) << bytes;
        chmod(file.c_str(), mode);
        return file;
    }
};

// The least of a program: a header, and PT_INTERP when it names a loader.
std::string elf_bytes(const std::string& loader, std::uint16_t machine = EM_X86_64,
                      unsigned char elf_class = ELFCLASS64) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_DYN;
    header.e_machine = machine;
    header.e_version = EV_CURRENT;
    header.e_ehsize = sizeof header;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = loader.empty() ? 0 : 1;
    Elf64_Phdr interpreter{};
    interpreter.p_type = PT_INTERP;
    interpreter.p_offset = sizeof header + sizeof interpreter;
    interpreter.p_filesz = loader.size() + 1;
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes.append(reinterpret_cast<const char*>(&interpreter), sizeof interpreter);
    return bytes + loader + '\0';
}

const std::string kLoader = "/lib64/ld-linux-x86-64.so.2";

int exit_code_for(const std::string& command, const char* search_path = "/nowhere") {
    try {
        inspect_program(command, search_path);
    } catch (const Error& error) {
        return error.exit_code;
    }
    return 0;
}

}  // namespace

TEST_CASE("an ordinary program is found along PATH and has no obstacle") {
    const Folder folder;
    const std::string file = folder.put("tool", elf_bytes(kLoader));
    const Program program = inspect_program("tool", ("/nowhere:" + folder.path.string()).c_str());
    CHECK(program.path == file);
    CHECK(program.binary == file);
    CHECK(program.preload_obstacle.empty());
    CHECK(program.obstacle.empty());
}

TEST_CASE("a name with a slash is not looked for along PATH") {
    const Folder folder;
    folder.put("tool", elf_bytes(kLoader));
    CHECK(exit_code_for("./unfreed-no-such-tool", folder.path.c_str()) == kExitNotFound);
}

TEST_CASE("a file in PATH that is not executable is passed over for one that is") {
    const Folder first, second;
    first.put("tool", elf_bytes(kLoader), 0644);
    const std::string file = second.put("tool", elf_bytes(kLoader));
    CHECK(inspect_program("tool", (first.path.string() + ":" + second.path.string()).c_str()).path == file);
}

TEST_CASE("what cannot be run has the exit code that a shell gives it") {
    const Folder folder;
    CHECK(exit_code_for("tool") == kExitNotFound);
    CHECK(exit_code_for("") == kExitNotFound);
    CHECK(exit_code_for(folder.path / "missing") == kExitNotFound);
    CHECK(exit_code_for(folder.path) == kExitCannotRun);
    CHECK(exit_code_for(folder.put("plain", elf_bytes(kLoader), 0644)) == kExitCannotRun);
    CHECK(exit_code_for(folder.put("cut", elf_bytes(kLoader).substr(0, 40))) == kExitCannotRun);
    CHECK(exit_code_for(folder.put("arm", elf_bytes(kLoader, EM_AARCH64))) == kExitCannotRun);
    CHECK(exit_code_for(folder.put("noise", std::string("\x01\x00\x02", 3))) == kExitCannotRun);
    CHECK(exit_code_for("plain", folder.path.c_str()) == kExitCannotRun);
}

TEST_CASE("a script is what its interpreter is") {
    const Folder folder;
    const std::string interpreter = folder.put("interpreter", elf_bytes(kLoader));
    const std::string inner = folder.put("inner", "#! " + interpreter + " -x\n");
    const std::string outer = folder.put("outer", "#!" + inner + "\nmore\n");
    const Program program = inspect_program(outer, nullptr);
    CHECK(program.path == outer);
    CHECK(program.binary == interpreter);
    CHECK(!program.shell_script);
}

TEST_CASE("a script without an interpreter, or with one that leads in circles, cannot be run") {
    const Folder folder;
    CHECK(exit_code_for(folder.put("lost", "#!/no/such/interpreter\n")) == kExitCannotRun);
    const std::string circle = folder.path / "circle";
    folder.put("circle", "#!" + circle + "\n");
    CHECK(exit_code_for(circle) == kExitCannotRun);
}

TEST_CASE("text without a #! line is a script for the shell") {
    const Folder folder;
    const Program program = inspect_program(folder.put("script", "echo hello\n"), nullptr);
    CHECK(program.shell_script);
    CHECK(program.binary == "/bin/sh");
}

TEST_CASE("a preloaded library cannot see a static program, nor one of musl") {
    const Folder folder;
    CHECK(inspect_program(folder.put("static", elf_bytes("")), nullptr).preload_obstacle ==
          "it is linked statically");
    CHECK(inspect_program(folder.put("musl", elf_bytes("/lib/ld-musl-x86_64.so.1")), nullptr)
              .preload_obstacle == "it uses the musl C library");
}

TEST_CASE("the obstacle of an interpreter is its script's") {
    const Folder folder;
    const std::string interpreter = folder.put("interpreter", elf_bytes(""));
    CHECK(inspect_program(folder.put("script", "#!" + interpreter + "\n"), nullptr).preload_obstacle ==
          "it is linked statically");
}

TEST_CASE("a 32-bit program is an obstacle to every backend") {
    const Folder folder;
    const Program program =
        inspect_program(folder.put("small", elf_bytes(kLoader, EM_386, ELFCLASS32)), nullptr);
    CHECK(program.obstacle == "it is a 32-bit program");
}

TEST_CASE("a program of another user that gains its rights is beyond a preloaded library") {
    if (geteuid() != 0) return;  // only root can make one
    const Folder folder;
    const std::string file = folder.put("setuid", elf_bytes(kLoader));
    REQUIRE(chown(file.c_str(), 12345, 12345) == 0);
    REQUIRE(chmod(file.c_str(), 04755) == 0);
    CHECK(inspect_program(file, nullptr).preload_obstacle.starts_with("it gains privileges"));
}

TEST_CASE("this test itself has no obstacle, unless it is built with AddressSanitizer") {
#ifdef __SANITIZE_ADDRESS__
    constexpr bool kObstacle = true;
#else
    constexpr bool kObstacle = false;
#endif
    CHECK(inspect_program("/proc/self/exe", nullptr).preload_obstacle.empty() != kObstacle);
}
