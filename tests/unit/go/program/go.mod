module naming

go 1.19
