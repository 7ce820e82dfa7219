// Without cgo: holds 64 MiB of Go's own heap, says so, and waits for its input to end.
package main

import "os"

var kept [][]byte

func main() {
	for i := 0; i < 64; i++ {
		piece := make([]byte, 1<<20)
		for at := 0; at < len(piece); at += 4096 {
			piece[at] = 1
		}
		kept = append(kept, piece)
	}
	os.Stdout.WriteString("quiet\n")
	os.Stdin.Read(make([]byte, 1))
}
