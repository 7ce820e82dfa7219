# A Go module as it lies in memory, made by hand from the format's definition: it makes this test's program one.
# Layout of Go 1.26: the table does not say where the code starts, the module data does.
        .section .note.go.buildid, "a", @note
        .long 4, 4, 4
        .ascii "Go\0\0"
        .long 0

        .text
        .globl go_code, go_code_second, go_code_end
        .balign 16
go_code:                        # main.first: 16 bytes, no frame for 4, then 24
        .fill 16, 1, 0x90
go_code_second:                 # main.second: 32 bytes, a frame of 4096; sets sp
        .fill 32, 1, 0x90
go_code_end:

        .section .gopclntab, "a", @progbits
        .balign 32
table:
        .long 0xfffffff1
        .byte 0, 0, 1, 8
        .quad 2, 0, 0           # functions, files, where the code would start
        .quad names - table, names - table, names - table, values - table, functions - table
names:  .asciz ""
first_name:
        .asciz "main.first"
second_name:
        .asciz "main.second"
        .balign 8
values: .byte 0
first_sizes:
        .byte 2, 4, 48, 12, 0   # -1 + 1 for 4 bytes, + 24 for 12
second_sizes:
        .byte 0x82, 0x40, 32, 0 # -1 + 4097 for 32 bytes
        .balign 8
functions:
        .long 0, first - functions, 16, second - functions, 48
        .balign 4
        # entry, name, args, deferreturn, pcsp, pcfile, pcln, npcdata, unit, start line; id, flags, padding, nfuncdata
first:  .long 0, first_name - names, 0, 0, first_sizes - values, 0, 0, 0, 0, 1
        .byte 0, 0, 0, 0
second: .long 16, second_name - names, 0, 0, second_sizes - values, 0, 0, 0, 0, 1
        .byte 0, 2, 0, 0
        .fill 64

        .data
        .balign 8
        .quad table, 0          # not this one
module_data:
        .quad table
        .quad names, 1, 1, names, 1, 1, names, 1, 1, values, 1, 1, functions, 1, 1, functions, 3, 3
        .quad 0, go_code, go_code_end, go_code, go_code_end
        .section .note.GNU-stack, "", @progbits
