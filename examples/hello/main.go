// SPDX-License-Identifier: Apache-2.0 OR MIT

// hello: one line.
package main

import "fmt"

func main() {
	fmt.Println("Hello, world.")
}
