// SPDX-License-Identifier: Apache-2.0 OR MIT

// zones: time zones from the zone database, and dates in them.
package main

import (
	"fmt"
	"time"
)

func main() {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Nowhere/Land"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			fmt.Println(name, "unknown")
			continue
		}
		fmt.Println(name, at.In(zone).Format(time.RFC1123Z), time.Date(2026, 1, 1, 0, 0, 0, 0, zone).UTC().Format(time.RFC3339))
	}
}
