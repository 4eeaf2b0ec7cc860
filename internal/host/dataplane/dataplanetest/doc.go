// Package dataplanetest owns the suite that every dataplane.Plane must pass.
//
// It sees a plane only through its interface, so it says nothing of packets: those are tested where they are made.
package dataplanetest
