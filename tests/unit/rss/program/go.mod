module held

go 1.19
