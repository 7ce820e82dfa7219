module unfreed/tests/programs/go_pure

go 1.19
