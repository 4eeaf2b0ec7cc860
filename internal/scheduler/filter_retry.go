package scheduler

// retryFilter leaves out the hosts on which this server's build has failed already.
var retryFilter = filter{name: "RetryFilter", always: true, prepare: func(a *ask) *check {
	if len(a.Exclude) == 0 {
		return nil
	}
	tried := a.Exclude
	return &check{same: true, names: func() []string { return tried }, why: because("tried already")}
}}
