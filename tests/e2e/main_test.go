// SPDX-License-Identifier: Apache-2.0 OR MIT

package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestPasses(t *testing.T) {
	if text, err := os.ReadFile("testdata/said"); err != nil || string(text) != "so\n" {
		t.Fatalf("%q %v", text, err)
	}
}

func TestFailsWhenAsked(t *testing.T) {
	if os.Getenv("MODE") == "fail" {
		t.Fatal("as asked")
	}
}

// With the toolchain in the image, a test can build a program and run it.
func TestBuilds(t *testing.T) {
	if os.Getenv("MODE") != "toolchain" {
		t.Skip("not asked")
	}
	source := t.TempDir() + "/main.go"
	text := "package main\n\nfunc main() { print(\"built inside\") }\n"
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "run", source).CombinedOutput()
	if err != nil || string(out) != "built inside" {
		t.Fatalf("%q %v", out, err)
	}
}

func TestSkips(t *testing.T) { t.Skip("as ever") }
