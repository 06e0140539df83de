wait_on_runs impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
  error "implementation failed; run ./collect_logs.sh and look at build/project"
}
open_run impl_1
report_timing_summary -file [file join $build timing.rpt]
report_utilization -file [file join $build utilization.rpt]
set slack [get_property SLACK [get_timing_paths -delay_type max]]
if {$slack < 0} {
  error "the design misses its clock of {{ design.clock_mhz }} MHz by [expr {-$slack}] ns; compile again with a lower clock_mhz in the target"
}
