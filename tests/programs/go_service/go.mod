module unfreed/tests/programs/go_service

go 1.19
