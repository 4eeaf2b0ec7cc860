package scheduler

// forcedFilter keeps the host that an administrator named (Nova's availability_zone az:host); all filters but those of life and room are then left out.
var forcedFilter = filter{name: "ForcedHost", always: true, prepare: func(a *ask) *check {
	if a.Forced == "" {
		return nil
	}
	want := []string{a.Forced}
	return &check{same: true, only: true, names: func() []string { return want }, why: because("host " + want[0] + " was asked for")}
}}
