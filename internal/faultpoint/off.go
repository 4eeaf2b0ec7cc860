//go:build !faultpoints

package faultpoint

import "context"

// Enabled says that this binary has fault points.
const Enabled = false

// Hit passes a point. Here: nothing.
func Hit(context.Context, string, string, string, string) error { return nil }

// Spoil passes a point with bytes on their way. Here: nothing.
func Spoil(context.Context, string, string, string, string, []byte) error { return nil }

// Describe tells a test what this process has declared. Here: nothing.
func Describe(string, any) error { return nil }
