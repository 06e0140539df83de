# Package the accelerator as a Vitis kernel. Run by make:
#   vivado -mode batch -source kernel.tcl
# Its protocol is user_managed: the host writes the registers itself.

set versions {2022.2 2023.1 2023.2}
if {[regsub {^(\d+\.\d+).*} [version -short] {\1}] ni $versions} {
  error "Vivado [version -short] is not one of $versions, which this package was written for"
}

set here [file dirname [file normalize [info script]]]
set build [file join $here build]
set ip [file join $build ip]

create_project -force kernel [file join $build kernel] -part xcu280-fsvh2892-2L-e
add_files -norecurse [list [file join $here rtl lightmamba.v] [file join $here rtl wrapper.v]]
set_property top lightmamba [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $ip -vendor lightmamba -library kernel -taxonomy /KernelIP -import_files -set_current true
set core [ipx::current_core]
set_property sdx_kernel true $core
set_property sdx_kernel_type rtl $core
set_property vitis_drc {ctrl_protocol user_managed} $core
set_property ipi_drc {ignore_freq_hz true} $core
set_property supported_families {} $core
set_property auto_family_support_level level_2 $core

# One clock and one reset for every interface. The platform chooses the frequency: a FREQ_HZ that
# was inferred here would contradict it.
foreach bus {
  s_axi_control
  m_axi_lane0
  m_axi_lane1
  m_axi_state
  m_axi_aux
} {
  ipx::associate_bus_interfaces -busif $bus -clock ap_clk $core
}
ipx::associate_bus_interfaces -clock ap_clk -reset ap_rst_n $core
set clock [ipx::get_bus_interfaces ap_clk -of_objects $core]
if {[ipx::get_bus_parameters FREQ_HZ -of_objects $clock] ne ""} {
  ipx::remove_bus_parameter FREQ_HZ $clock
}
set_property value -1 [ipx::add_bus_parameter FREQ_TOLERANCE_HZ $clock]

# What the accelerator asks of memory: whole beats, a longest burst, some interfaces for one direction only.
proc add_parameter {bus name value} {
  set_property value $value [ipx::add_bus_parameter $name [ipx::get_bus_interfaces $bus -of_objects $::core]]
}
foreach {bus mode} {
  m_axi_lane0 READ_ONLY
  m_axi_lane1 READ_ONLY
  m_axi_state READ_WRITE
  m_axi_aux READ_WRITE
} {
  add_parameter $bus MAX_BURST_LENGTH 16
  add_parameter $bus SUPPORTS_NARROW_BURST 0
  add_parameter $bus READ_WRITE_MODE $mode
}

# Registers. One that holds an address names the interface that it points into.
set map [ipx::get_memory_maps s_axi_control -of_objects $core]
if {$map eq ""} {
  set map [ipx::add_memory_map s_axi_control $core]
}
set_property slave_memory_map_ref s_axi_control [ipx::get_bus_interfaces s_axi_control -of_objects $core]
set block [ipx::get_address_blocks reg0 -of_objects $map]
if {$block eq ""} {
  set block [ipx::add_address_block reg0 $map]
}
set_property range 4096 $block
set_property width 32 $block
proc add_register {name offset size access description {bus ""}} {
  set register [ipx::add_register $name $::block]
  set_property address_offset $offset $register
  set_property size $size $register
  set_property access $access $register
  set_property description $description $register
  if {$bus ne ""} {
    set_property value $bus [ipx::add_register_parameter ASSOCIATED_BUSIF $register]
  }
}
add_register magic 0x000 32 read-only {0x4c4d4231: LMB1}
add_register hash 0x004 32 read-only {first 32 bits of the hash of the build parameters}
add_register version 0x008 32 read-only {6: of this map; a host knows one of them}
add_register control 0x00c 32 read-write {bit 0 run: prefetch may begin; 0 drains, discards what was read and clears bus faults}
add_register status 0x010 32 read-only {bit 0 busy, 1 done, 2 drained, 3 bus fault, 4 illegal instruction}
add_register interrupt 0x014 32 read-write {bit 0 enable; writing bit 1 acknowledges done}
add_register token 0x018 32 read-write {token id of the next start}
add_register start 0x01c 32 write-only {bit 0 fresh, bit 1 logits wanted: runs one pass}
add_register chain 0x020 32 read-write {tokens that follow a start, each the last one's arg-max}
add_register position 0x024 32 read-write {tokens that the first slot's state has seen before the next start, for the dither}
add_register next 0x028 32 read-only {arg-max of the last logits}
add_register cycles 0x02c 64 read-only {cycles of all passes since the reset}
add_register finished 0x034 32 read-only {tokens finished since the last start}
add_register units 0x038 32 read-only {bit n: unit n has work, in the order of the commands' table}
add_register fault 0x03c 32 read-only {first bus fault: bits 0 to 2 kind, 8 to 15 side of a port, 16 up id}
add_register fault_page 0x040 32 read-only {page of 4 KiB that was asked for last at that side of that port}
add_register program_index 0x044 32 read-write {32-bit word of the program to write; counts up by itself}
add_register program_data 0x048 32 write-only {that word}
add_register layers 0x04c 32 read-write {number of layers}
add_register lane_base_0 0x050 64 read-write {address of a lane's weights} m_axi_lane0
add_register lane_base_1 0x058 64 read-write {address of a lane's weights} m_axi_lane1
add_register layers_beats 0x250 32 read-write {weight beats of all layers, per lane}
add_register head_beats 0x254 32 read-write {weight beats of the head, per lane}
add_register conv_params_base 0x258 64 read-write {address of the conv_params stream} m_axi_aux
add_register head_params_base 0x260 64 read-write {address of the head_params stream} m_axi_aux
add_register gate_params_base 0x268 64 read-write {address of the gate_params stream} m_axi_aux
add_register embedding_base 0x270 64 read-write {address of the embedding stream} m_axi_aux
add_register conv_params_words 0x278 32 read-write {64-bit words of the conv_params stream per token}
add_register head_params_words 0x27c 32 read-write {64-bit words of the head_params stream per token}
add_register gate_params_words 0x280 32 read-write {64-bit words of the gate_params stream per token}
add_register embedding_words 0x284 32 read-write {64-bit words of the embedding stream per token}
add_register embedding_stride 0x288 32 read-write {bytes from one row of the embedding to the next}
add_register state_heads 0x28c 32 read-write {heads of all layers}
add_register head_stride 0x290 32 read-write {bytes of a head's state}
add_register state_head_beats 0x294 32 read-write {beats of a head's state}
add_register head_words 0x298 32 read-write {words of S elements of a head's state}
add_register conv_state_layers 0x29c 32 read-write {layers that have a conv_state}
add_register conv_state_stride 0x2a0 32 read-write {bytes of a layer's conv_state}
add_register conv_state_words 0x2a4 32 read-write {64-bit words of a layer's conv_state}
add_register logits_base 0x2a8 64 read-write {address where logits are written} m_axi_aux
add_register logits_words 0x2b0 32 read-write {64-bit words of the logits}
add_register counter_index 0x2b4 32 read-write {counter to read}
add_register counter_value 0x2b8 64 read-only {that counter}
add_register slot_conv_state_0 0x2c0 64 read-write {address of a slot's conv_state} m_axi_aux
add_register slot_read_0 0x300 64 read-write {address of a slot's state; a chain swaps it with `slot_write`} m_axi_state
add_register slot_write_0 0x340 64 read-write {address where a slot's new state goes} m_axi_state

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity -kernel $core
ipx::save_core $core
close_project

package_xo -force -xo_path [file join $build lightmamba.xo] -kernel_name lightmamba -ctrl_protocol user_managed -ip_directory $ip
