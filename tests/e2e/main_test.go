// SPDX-License-Identifier: Apache-2.0 OR MIT

package main

import (
	"os"
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

func TestSkips(t *testing.T) { t.Skip("as ever") }
