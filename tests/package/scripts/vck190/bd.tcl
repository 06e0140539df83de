# The block design: processing system, network on chip, memory controllers, accelerator.
# Sourced by build.tcl in a project that knows rtl/.

create_bd_design system

set cips [create_bd_cell -type ip -vlnv xilinx.com:ip:versal_cips cips]
apply_bd_automation -rule xilinx.com:bd_rule:cips -config {board_preset {Yes} boot_config {Custom} configure_noc {None} debug_config {JTAG} design_flow {Full System} mc_type {None} num_mc {1} pl_clocks {None} pl_resets {None}} $cips
set_property -dict [list CONFIG.PS_PMC_CONFIG { \
  PMC_CRP_PL0_REF_CTRL_FREQMHZ {300} \
  PMC_USE_PMC_NOC_AXI0 {1} \
  PS_IRQ_USAGE {{CH0 1}} \
  PS_NUM_FABRIC_RESETS {1} \
  PS_USE_FPD_CCI_NOC {1} \
  PS_USE_M_AXI_FPD {1} \
  PS_USE_NOC_LPD_AXI0 {1} \
  PS_USE_PMCPL_CLK0 {1} \
}] $cips

# Memory controllers. The two channels of an LPDDR4 controller are not interleaved: each has an
# address window, and a lane has one of them.
set noc_ddr4 [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_noc noc_ddr4]
set_property -dict [list \
  CONFIG.CH0_DDR4_0_BOARD_INTERFACE {ddr4_dimm1} \
  CONFIG.sys_clk0_BOARD_INTERFACE {ddr4_dimm1_sma_clk} \
  CONFIG.MC_CHAN_REGION0 {DDR_LOW0} \
  CONFIG.MC_CHAN_REGION1 {DDR_LOW1} \
  CONFIG.NUM_CLKS {0} \
  CONFIG.NUM_MC {1} \
  CONFIG.NUM_MCP {4} \
  CONFIG.NUM_MI {0} \
  CONFIG.NUM_NSI {3} \
  CONFIG.NUM_SI {0} \
] $noc_ddr4
set_property CONFIG.CONNECTIONS {MC_0 {read_bw {500} write_bw {500} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_ddr4/S00_INI]
set_property CONFIG.CONNECTIONS {MC_1 {read_bw {4992} write_bw {4992} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_ddr4/S01_INI]
set_property CONFIG.CONNECTIONS {MC_2 {read_bw {4992} write_bw {4992} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_ddr4/S02_INI]
create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 ddr4_dimm1_sma_clk
set_property CONFIG.FREQ_HZ 200000000 [get_bd_intf_ports ddr4_dimm1_sma_clk]
connect_bd_intf_net [get_bd_intf_ports ddr4_dimm1_sma_clk] [get_bd_intf_pins noc_ddr4/sys_clk0]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:ddr4_rtl:1.0 ddr4_dimm1
connect_bd_intf_net [get_bd_intf_ports ddr4_dimm1] [get_bd_intf_pins noc_ddr4/CH0_DDR4_0]

set noc_lpddr4_c1 [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_noc noc_lpddr4_c1]
set_property -dict [list \
  CONFIG.CH0_LPDDR4_0_BOARD_INTERFACE {ch0_lpddr4_c1} \
  CONFIG.CH1_LPDDR4_0_BOARD_INTERFACE {ch1_lpddr4_c1} \
  CONFIG.sys_clk0_BOARD_INTERFACE {lpddr4_sma_clk2} \
  CONFIG.MC_CHANNEL_INTERLEAVING {false} \
  CONFIG.MC_CHAN_REGION0 {DDR_CH1} \
  CONFIG.MC_CHAN_REGION1 {DDR_CH1_1} \
  CONFIG.NUM_CLKS {0} \
  CONFIG.NUM_MC {1} \
  CONFIG.NUM_MCP {4} \
  CONFIG.NUM_MI {0} \
  CONFIG.NUM_NSI {2} \
  CONFIG.NUM_SI {0} \
] $noc_lpddr4_c1
set_property CONFIG.CONNECTIONS {MC_0 {read_bw {500} write_bw {500} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_lpddr4_c1/S00_INI]
set_property CONFIG.CONNECTIONS {MC_1 {read_bw {13280} write_bw {0} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_lpddr4_c1/S01_INI]
create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 lpddr4_sma_clk2
set_property CONFIG.FREQ_HZ 200321000 [get_bd_intf_ports lpddr4_sma_clk2]
connect_bd_intf_net [get_bd_intf_ports lpddr4_sma_clk2] [get_bd_intf_pins noc_lpddr4_c1/sys_clk0]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:lpddr4_rtl:1.0 ch0_lpddr4_c1
connect_bd_intf_net [get_bd_intf_ports ch0_lpddr4_c1] [get_bd_intf_pins noc_lpddr4_c1/CH0_LPDDR4_0]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:lpddr4_rtl:1.0 ch1_lpddr4_c1
connect_bd_intf_net [get_bd_intf_ports ch1_lpddr4_c1] [get_bd_intf_pins noc_lpddr4_c1/CH1_LPDDR4_0]

set noc_lpddr4_c0 [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_noc noc_lpddr4_c0]
set_property -dict [list \
  CONFIG.CH0_LPDDR4_0_BOARD_INTERFACE {ch0_lpddr4_c0} \
  CONFIG.CH1_LPDDR4_0_BOARD_INTERFACE {ch1_lpddr4_c0} \
  CONFIG.sys_clk0_BOARD_INTERFACE {lpddr4_sma_clk1} \
  CONFIG.MC_CHANNEL_INTERLEAVING {false} \
  CONFIG.MC_CHAN_REGION0 {DDR_CH2} \
  CONFIG.MC_CHAN_REGION1 {DDR_CH2_1} \
  CONFIG.MC1_FLIPPED_PINOUT {true} \
  CONFIG.NUM_CLKS {0} \
  CONFIG.NUM_MC {1} \
  CONFIG.NUM_MCP {4} \
  CONFIG.NUM_MI {0} \
  CONFIG.NUM_NSI {2} \
  CONFIG.NUM_SI {0} \
] $noc_lpddr4_c0
set_property CONFIG.CONNECTIONS {MC_0 {read_bw {500} write_bw {500} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_lpddr4_c0/S00_INI]
set_property CONFIG.CONNECTIONS {MC_1 {read_bw {13280} write_bw {0} read_avg_burst {4} write_avg_burst {4}}} [get_bd_intf_pins noc_lpddr4_c0/S01_INI]
create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 lpddr4_sma_clk1
set_property CONFIG.FREQ_HZ 200321000 [get_bd_intf_ports lpddr4_sma_clk1]
connect_bd_intf_net [get_bd_intf_ports lpddr4_sma_clk1] [get_bd_intf_pins noc_lpddr4_c0/sys_clk0]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:lpddr4_rtl:1.0 ch0_lpddr4_c0
connect_bd_intf_net [get_bd_intf_ports ch0_lpddr4_c0] [get_bd_intf_pins noc_lpddr4_c0/CH0_LPDDR4_0]
create_bd_intf_port -mode Master -vlnv xilinx.com:interface:lpddr4_rtl:1.0 ch1_lpddr4_c0
connect_bd_intf_net [get_bd_intf_ports ch1_lpddr4_c0] [get_bd_intf_pins noc_lpddr4_c0/CH1_LPDDR4_0]

# Ways into the network: the processors reach every controller, each interface of the accelerator its own.
set noc_ps [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_noc noc_ps]
set_property -dict [list \
  CONFIG.NUM_CLKS {6} \
  CONFIG.NUM_MI {0} \
  CONFIG.NUM_NMI {3} \
  CONFIG.NUM_SI {6} \
] $noc_ps
set_property -dict [list CONFIG.CATEGORY {ps_cci} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S00_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S00_AXI} [get_bd_pins noc_ps/aclk0]
connect_bd_intf_net [get_bd_intf_pins cips/FPD_CCI_NOC_0] [get_bd_intf_pins noc_ps/S00_AXI]
connect_bd_net [get_bd_pins cips/fpd_cci_noc_axi0_clk] [get_bd_pins noc_ps/aclk0]
set_property -dict [list CONFIG.CATEGORY {ps_cci} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S01_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S01_AXI} [get_bd_pins noc_ps/aclk1]
connect_bd_intf_net [get_bd_intf_pins cips/FPD_CCI_NOC_1] [get_bd_intf_pins noc_ps/S01_AXI]
connect_bd_net [get_bd_pins cips/fpd_cci_noc_axi1_clk] [get_bd_pins noc_ps/aclk1]
set_property -dict [list CONFIG.CATEGORY {ps_cci} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S02_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S02_AXI} [get_bd_pins noc_ps/aclk2]
connect_bd_intf_net [get_bd_intf_pins cips/FPD_CCI_NOC_2] [get_bd_intf_pins noc_ps/S02_AXI]
connect_bd_net [get_bd_pins cips/fpd_cci_noc_axi2_clk] [get_bd_pins noc_ps/aclk2]
set_property -dict [list CONFIG.CATEGORY {ps_cci} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S03_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S03_AXI} [get_bd_pins noc_ps/aclk3]
connect_bd_intf_net [get_bd_intf_pins cips/FPD_CCI_NOC_3] [get_bd_intf_pins noc_ps/S03_AXI]
connect_bd_net [get_bd_pins cips/fpd_cci_noc_axi3_clk] [get_bd_pins noc_ps/aclk3]
set_property -dict [list CONFIG.CATEGORY {ps_rpu} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S04_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S04_AXI} [get_bd_pins noc_ps/aclk4]
connect_bd_intf_net [get_bd_intf_pins cips/LPD_AXI_NOC_0] [get_bd_intf_pins noc_ps/S04_AXI]
connect_bd_net [get_bd_pins cips/lpd_axi_noc_clk] [get_bd_pins noc_ps/aclk4]
set_property -dict [list CONFIG.CATEGORY {ps_pmc} CONFIG.CONNECTIONS {M00_INI {read_bw {500} write_bw {500}} M01_INI {read_bw {500} write_bw {500}} M02_INI {read_bw {500} write_bw {500}}}] [get_bd_intf_pins noc_ps/S05_AXI]
set_property CONFIG.ASSOCIATED_BUSIF {S05_AXI} [get_bd_pins noc_ps/aclk5]
connect_bd_intf_net [get_bd_intf_pins cips/PMC_NOC_AXI_0] [get_bd_intf_pins noc_ps/S05_AXI]
connect_bd_net [get_bd_pins cips/pmc_axi_noc_axi0_clk] [get_bd_pins noc_ps/aclk5]
connect_bd_intf_net [get_bd_intf_pins noc_ps/M00_INI] [get_bd_intf_pins noc_ddr4/S00_INI]
connect_bd_intf_net [get_bd_intf_pins noc_ps/M01_INI] [get_bd_intf_pins noc_lpddr4_c1/S00_INI]
connect_bd_intf_net [get_bd_intf_pins noc_ps/M02_INI] [get_bd_intf_pins noc_lpddr4_c0/S00_INI]

create_bd_cell -type module -reference lightmamba accelerator
set noc_pl [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_noc noc_pl]
set_property -dict [list \
  CONFIG.NUM_CLKS {1} \
  CONFIG.NUM_MI {0} \
  CONFIG.NUM_NMI {4} \
  CONFIG.NUM_SI {4} \
] $noc_pl
set_property -dict [list CONFIG.CATEGORY {pl} CONFIG.CONNECTIONS {M00_INI {read_bw {13280} write_bw {0} read_avg_burst {4} write_avg_burst {4}}}] [get_bd_intf_pins noc_pl/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins noc_pl/S00_AXI] [get_bd_intf_pins accelerator/m_axi_lane0]
connect_bd_intf_net [get_bd_intf_pins noc_pl/M00_INI] [get_bd_intf_pins noc_lpddr4_c1/S01_INI]
set_property -dict [list CONFIG.CATEGORY {pl} CONFIG.CONNECTIONS {M01_INI {read_bw {13280} write_bw {0} read_avg_burst {4} write_avg_burst {4}}}] [get_bd_intf_pins noc_pl/S01_AXI]
connect_bd_intf_net [get_bd_intf_pins noc_pl/S01_AXI] [get_bd_intf_pins accelerator/m_axi_lane1]
connect_bd_intf_net [get_bd_intf_pins noc_pl/M01_INI] [get_bd_intf_pins noc_lpddr4_c0/S01_INI]
set_property -dict [list CONFIG.CATEGORY {pl} CONFIG.CONNECTIONS {M02_INI {read_bw {4992} write_bw {4992} read_avg_burst {4} write_avg_burst {4}}}] [get_bd_intf_pins noc_pl/S02_AXI]
connect_bd_intf_net [get_bd_intf_pins noc_pl/S02_AXI] [get_bd_intf_pins accelerator/m_axi_state]
connect_bd_intf_net [get_bd_intf_pins noc_pl/M02_INI] [get_bd_intf_pins noc_ddr4/S01_INI]
set_property -dict [list CONFIG.CATEGORY {pl} CONFIG.CONNECTIONS {M03_INI {read_bw {4992} write_bw {4992} read_avg_burst {4} write_avg_burst {4}}}] [get_bd_intf_pins noc_pl/S03_AXI]
connect_bd_intf_net [get_bd_intf_pins noc_pl/S03_AXI] [get_bd_intf_pins accelerator/m_axi_aux]
connect_bd_intf_net [get_bd_intf_pins noc_pl/M03_INI] [get_bd_intf_pins noc_ddr4/S02_INI]
set_property CONFIG.ASSOCIATED_BUSIF {S00_AXI:S01_AXI:S02_AXI:S03_AXI} [get_bd_pins noc_pl/aclk0]

create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control
set_property -dict [list CONFIG.NUM_SI {1} CONFIG.NUM_MI {1}] [get_bd_cells control]
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins cips/m_axi_fpd_aclk]
connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins noc_pl/aclk0]
connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins accelerator/ap_clk]
connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins control/aclk]
connect_bd_net [get_bd_pins cips/pl0_ref_clk] [get_bd_pins reset/slowest_sync_clk]
connect_bd_net [get_bd_pins cips/pl0_resetn] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins accelerator/ap_rst_n]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins control/aresetn]
connect_bd_net [get_bd_pins accelerator/interrupt] [get_bd_pins cips/pl_ps_irq0]
connect_bd_intf_net [get_bd_intf_pins cips/M_AXI_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins accelerator/s_axi_control]

# The registers and each memory where the device tree says. Processors see all of it.
assign_bd_address -offset 0xa4000000 -range 0x00010000 -target_address_space [get_bd_addr_spaces cips/M_AXI_FPD] [get_bd_addr_segs accelerator/s_axi_control/reg0]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane0] [get_bd_addr_segs noc_lpddr4_c1/S01_INI/C1_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_lane1] [get_bd_addr_segs noc_lpddr4_c0/S01_INI/C1_DDR_CH2]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_state] [get_bd_addr_segs noc_ddr4/S01_INI/C1_DDR_LOW1]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces accelerator/m_axi_aux] [get_bd_addr_segs noc_ddr4/S02_INI/C2_DDR_LOW1]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_0] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_0] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_1] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_1] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_1] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_1] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_2] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_2] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_2] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_2] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_3] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_3] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_3] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/FPD_CCI_NOC_3] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/LPD_AXI_NOC_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/LPD_AXI_NOC_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/LPD_AXI_NOC_0] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/LPD_AXI_NOC_0] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]
assign_bd_address -offset 0x00000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/PMC_NOC_AXI_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW0]
assign_bd_address -offset 0x800000000 -range 0x180000000 -target_address_space [get_bd_addr_spaces cips/PMC_NOC_AXI_0] [get_bd_addr_segs noc_ddr4/S00_INI/C0_DDR_LOW1]
assign_bd_address -offset 0x50000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/PMC_NOC_AXI_0] [get_bd_addr_segs noc_lpddr4_c1/S00_INI/C0_DDR_CH1]
assign_bd_address -offset 0x60000000000 -range 0x80000000 -target_address_space [get_bd_addr_spaces cips/PMC_NOC_AXI_0] [get_bd_addr_segs noc_lpddr4_c0/S00_INI/C0_DDR_CH2]

validate_bd_design
save_bd_design
