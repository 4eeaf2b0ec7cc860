// Package doctor looks at a machine and says what it lacks for `nephos up`, and how to mend each thing.
//
//	doctor.go   the list of checks and how it is printed
//	tools.go    programs, accelerator, rights
//	kernel.go   what the kernel can do, tried inside a network namespace that ends with the check
//	machine.go  ports, disk, memory, address ranges, database
//
// Nothing is changed on the machine: the namespace lives as long as one locked thread, the accelerator probe runs a boot sector in a temporary directory.
// Goroutines: the one of the namespace, which ends with its thread before Run returns. Never here: mending.
package doctor
