// SPDX-License-Identifier: Apache-2.0 OR MIT

// memory-kill: takes more memory than the machine has. The program must be
// killed with a message, the kernel must not panic.
package main

import "fmt"

func main() {
	fmt.Println("filling")
	var all [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
		if len(all) > 1<<20 {
			fmt.Println(len(all))
		}
	}
}
