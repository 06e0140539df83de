# From RTL to bitstream. Run by make: vivado -mode batch -source build.tcl

set versions {2022.2 2023.1 2023.2 2024.1 2024.2 2025.1 2025.2}
if {[regsub {^(\d+\.\d+).*} [version -short] {\1}] ni $versions} {
  error "Vivado [version -short] is not one of $versions, which this package was written for"
}
set here [file dirname [file normalize [info script]]]
set build [file join $here build]
cd $here

create_project -force lightmamba [file join $build project] -part xck26-sfvc784-2LV-c
set found [get_board_parts -quiet -latest_file_version {xilinx.com:kv260_som:part0:*}]
if {$found eq ""} {
  error "Vivado has no board file xilinx.com:kv260_som:part0:*; install it with: xhub::refresh_catalog, then xhub::install of the board"
}
set_property board_part $found [current_project]
add_files -norecurse [list [file join $here rtl lightmamba.v] [file join $here rtl wrapper.v]]
update_compile_order -fileset sources_1
source [file join $here bd.tcl]

set bd [get_files system.bd]
generate_target all $bd
add_files -norecurse [make_wrapper -top $bd]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

launch_runs impl_1 -to_step write_bitstream -jobs 8
wait_on_runs impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
  error "implementation failed; run ./collect_logs.sh and look at build/project"
}
open_run impl_1
report_timing_summary -file [file join $build timing.rpt]
report_utilization -file [file join $build utilization.rpt]
set slack [get_property SLACK [get_timing_paths -delay_type max]]
if {$slack < 0} {
  error "the design misses its clock of 300 MHz by [expr {-$slack}] ns; compile again with a lower clock_mhz in the target"
}

write_hw_platform -fixed -force -include_bit [file join $build lightmamba.xsa]
file copy -force [file join $build project lightmamba.runs impl_1 system_wrapper.bit] [file join $build lightmamba.bit]
