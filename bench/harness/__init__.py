"""What bench/compare is made of: workloads and libraries, the runner, the figures, and how they are shown."""
