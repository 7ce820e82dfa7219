module unfreed/tests/programs/cgo

go 1.19
