# Code that the compiler knows nothing of, as in hand-written assembler and many a JIT: no .cfi_ directives, once
# with a frame pointer and once without. Each takes (callback, bytes) and calls callback(bytes).
    .text
    .globl without_cfi
    .type without_cfi, @function
without_cfi:
    push %rbp
    mov %rsp, %rbp
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    pop %rbp
    ret
    .size without_cfi, .-without_cfi

    .globl without_cfi_or_frame_pointer
    .type without_cfi_or_frame_pointer, @function
without_cfi_or_frame_pointer:
    sub $24, %rsp
    mov %rdi, %rax
    mov %rsi, %rdi
    call *%rax
    add $24, %rsp
    ret
    .size without_cfi_or_frame_pointer, .-without_cfi_or_frame_pointer
    .section .note.GNU-stack,"",@progbits
