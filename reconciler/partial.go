package reconciler

const (
	// wholeElements and partialElements begin the names of counts, by kind: of a
	// list's elements that show the whole state the mirror has, and of those that show
	// a part of it, which took a GET each to find out.
	wholeElements   = "whole_elements."
	partialElements = "partial_elements."
)
