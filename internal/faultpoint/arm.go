package faultpoint

// Action is what an Arm does to whoever passes its point.
type Action string

// The actions.
const (
	Crash   Action = "crash"   // SIGKILL to this process, once
	Hold    Action = "hold"    // wait until the arm's file is taken away, or the context ends
	Slow    Action = "slow"    // wait DelayMS
	Fail    Action = "error"   // return Err as an error that is not tried again
	Corrupt Action = "corrupt" // of Spoil only: turn the bytes around
)

// Arm is one *.arm file.
type Arm struct {
	Point   string `json:"point"` // path.Match pattern on the name
	Do      Action `json:"do"`
	Nth     int    `json:"nth,omitempty"`      // acts from the Nth passage of this process on; 0: the first
	Times   int    `json:"times,omitempty"`    // on so many passages; 0: all that follow (Crash: one)
	DelayMS int    `json:"delay_ms,omitempty"` // of Slow
	Err     string `json:"err,omitempty"`      // of Fail; empty: the point's name
}

// Dir is the environment variable that names a process's directory of arms.
const Dir = "NEPHOS_FAULTS"
