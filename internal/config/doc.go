// Package config owns the settings of a nephos process: one struct with defaults that work with no file, read from YAML and overridden by
// flags. A mistake in the file is an error with its line. No other package reads a file of settings or an environment variable for one.
package config
