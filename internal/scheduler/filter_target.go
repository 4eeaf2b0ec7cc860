package scheduler

// sourceFilter leaves out the host that a server is to leave.
var sourceFilter = filter{name: "SourceHostFilter", always: true, prepare: func(a *ask) *check {
	if a.Leave == "" {
		return nil
	}
	from := []string{a.Leave}
	return &check{same: true, names: func() []string { return from }, why: because("the server is there already")}
}}

// targetFilter keeps the host that an administrator named as a server's destination; it must pass all other filters too (Nova's requested destination).
var targetFilter = filter{name: "TargetHostFilter", always: true, prepare: func(a *ask) *check {
	if a.Target == "" {
		return nil
	}
	want := []string{a.Target}
	return &check{same: true, only: true, names: func() []string { return want }, why: because("host " + want[0] + " was asked for")}
}}
