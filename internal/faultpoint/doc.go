// Package faultpoint owns the named places at which a test may have this process die, wait or fail. They exist only in binaries built with
// the tag faultpoints (`make chaos`); in every other build Hit and Spoil are empty functions that the compiler removes.
//
// # Names
//
// A point is called room/what/step/moment. The callers derive the parts from what they run, so that a later workflow or command has its points
// without a line here:
//
//	workflow/KIND/STEP/before      a step has not begun
//	workflow/KIND/STEP/effect      its Do is done, nothing is committed
//	workflow/KIND/STEP/committed   its commit is durable
//	workflow/KIND/STEP/undo        its undo has not begun; undone: done and not committed
//	workflow/KIND/-/fail           all is undone, the end is not committed; failed: it is
//	agent/OP/STEP/before, after    a journalled step of a command on a host
//	agent/OP/command/begin, done, recorded   the command itself: admitted; executed and not recorded; recorded and not answered
//	image/read/-/bytes             a piece of an image leaves the store
//	nft/apply/-/before             a ruleset is about to be loaded
//
// # Arming
//
// NEPHOS_FAULTS names a directory that belongs to one process. Each file *.arm in it is one Arm (JSON); it may be put there and taken away at any time. When an arm acts,
// NAME.fired appears beside it first, so that a test can wait for it. A file named trace, if there, gets the name of every point passed, a line each.
//
// Nothing runs here; whoever calls Hit does the waiting. Never here: any knowledge of what the points mean.
package faultpoint
