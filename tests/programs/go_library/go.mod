module unfreed/tests/programs/go_library

go 1.19
