# The block design: the processing system, the accelerator, one clock and one reset.
# Sourced by build.tcl in a project that knows rtl/.

create_bd_design system

set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} $ps
# Every slave port as wide as its interface; one master port, of 32 bits, for the registers.
set_property -dict [list \
  CONFIG.PSU__USE__M_AXI_GP0 {1} \
  CONFIG.PSU__USE__M_AXI_GP1 {0} \
  CONFIG.PSU__USE__M_AXI_GP2 {0} \
  CONFIG.PSU__MAXIGP0__DATA_WIDTH {32} \
  CONFIG.PSU__USE__S_AXI_GP2 {1} \
  CONFIG.PSU__SAXIGP2__DATA_WIDTH {128} \
  CONFIG.PSU__USE__S_AXI_GP3 {1} \
  CONFIG.PSU__SAXIGP3__DATA_WIDTH {128} \
  CONFIG.PSU__USE__S_AXI_GP0 {1} \
  CONFIG.PSU__SAXIGP0__DATA_WIDTH {128} \
  CONFIG.PSU__USE__S_AXI_GP1 {1} \
  CONFIG.PSU__SAXIGP1__DATA_WIDTH {128} \
  CONFIG.PSU__USE__IRQ0 {1} \
  CONFIG.PSU__FPGA_PL0_ENABLE {1} \
  CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {300} \
] $ps

create_bd_cell -type module -reference lightmamba accelerator
create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control
set_property -dict [list CONFIG.NUM_SI {1} CONFIG.NUM_MI {1}] [get_bd_cells control]
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset

connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/maxihpm0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihp0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihp1_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihpc0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins ps/saxihpc1_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins accelerator/ap_clk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins control/aclk]
connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins reset/slowest_sync_clk]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins accelerator/ap_rst_n]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins control/aresetn]
connect_bd_net [get_bd_pins accelerator/interrupt] [get_bd_pins ps/pl_ps_irq0]

connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins accelerator/s_axi_control]
connect_bd_intf_net [get_bd_intf_pins ps/S_AXI_HP0_FPD] [get_bd_intf_pins accelerator/m_axi_lane0]
connect_bd_intf_net [get_bd_intf_pins ps/S_AXI_HP1_FPD] [get_bd_intf_pins accelerator/m_axi_lane1]
connect_bd_intf_net [get_bd_intf_pins ps/S_AXI_HPC0_FPD] [get_bd_intf_pins accelerator/m_axi_state]
connect_bd_intf_net [get_bd_intf_pins ps/S_AXI_HPC1_FPD] [get_bd_intf_pins accelerator/m_axi_aux]

# The registers where the device tree says; all of the DDR4 for every interface.
assign_bd_address -offset 0xa0000000 -range 0x00010000 -target_address_space [get_bd_addr_spaces ps/Data] [get_bd_addr_segs accelerator/s_axi_control/reg0]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane0] [get_bd_addr_segs ps/SAXIGP2/HP0_DDR_LOW]
assign_bd_address -offset 0x800000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane0] [get_bd_addr_segs ps/SAXIGP2/HP0_DDR_HIGH]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane1] [get_bd_addr_segs ps/SAXIGP3/HP1_DDR_LOW]
assign_bd_address -offset 0x800000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane1] [get_bd_addr_segs ps/SAXIGP3/HP1_DDR_HIGH]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_state] [get_bd_addr_segs ps/SAXIGP0/HPC0_DDR_LOW]
assign_bd_address -offset 0x800000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_state] [get_bd_addr_segs ps/SAXIGP0/HPC0_DDR_HIGH]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_aux] [get_bd_addr_segs ps/SAXIGP1/HPC1_DDR_LOW]
assign_bd_address -offset 0x800000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_aux] [get_bd_addr_segs ps/SAXIGP1/HPC1_DDR_HIGH]

validate_bd_design
save_bd_design
