set here [file dirname [file normalize [info script]]]
set build [file join $here build]
cd $here

create_project -force {{ kernel }} [file join $build project] -part {{ board.part }}
set found [get_board_parts -quiet -latest_file_version {{ '{' }}{{ board.board_part }}{{ '}' }}]
if {$found eq ""} {
  error "Vivado has no board file {{ board.board_part }}; install it with: xhub::refresh_catalog, then xhub::install of the board"
}
set_property board_part $found [current_project]
add_files -norecurse [list [file join $here rtl {{ kernel }}.v] [file join $here rtl wrapper.v]]
update_compile_order -fileset sources_1
source [file join $here bd.tcl]

set bd [get_files system.bd]
generate_target all $bd
add_files -norecurse [make_wrapper -top $bd]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
