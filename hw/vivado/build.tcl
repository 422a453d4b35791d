# Build the KV260 overlay: instantft.bit and instantft.hwh. NOT VERIFIED: written without Vivado at
# hand; neither the build, nor timing at 200 MHz, nor the result on a board has been seen.
# vivado -mode batch -source hw/vivado/package_ip.tcl -tclargs OUTPUT_FOLDER
# vivado -mode batch -source hw/vivado/build.tcl -tclargs OUTPUT_FOLDER
set here [file dirname [file normalize [info script]]]
set output [file normalize [expr {$argc > 0 ? [lindex $argv 0] : "$here/../../out/vivado"}]]

create_project -force overlay $output/overlay -part xck26-sfvc784-2LV-c
set boards [get_board_parts -quiet *kv260_som*]
if {[llength $boards] == 0} { error {install the KV260 board files} }
set_property board_part [lindex [lsort $boards] end] [current_project]
set_property ip_repo_paths $output/ip [current_project]
update_ip_catalog
add_files -fileset constrs_1 $here/instantft.xdc

create_bd_design instantft
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e processor]
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} $ps
set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 \
    CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH 128 \
    CONFIG.PSU__USE__IRQ0 1 \
    CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 200] $ps

set core [create_bd_cell -type ip -vlnv instantft_ros:user:instantft:1.0 instantft_0]
set control [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control]
set memory [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory]
set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]
set_property CONFIG.NUM_SI 1 $control
set_property CONFIG.NUM_SI 1 $memory

connect_bd_net [get_bd_pins processor/pl_clk0] \
    [get_bd_pins processor/maxihpm0_fpd_aclk] [get_bd_pins processor/saxihp0_fpd_aclk] \
    [get_bd_pins control/aclk] [get_bd_pins memory/aclk] [get_bd_pins reset/slowest_sync_clk] \
    [get_bd_pins instantft_0/aclk]
connect_bd_net [get_bd_pins processor/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins instantft_0/aresetn] \
    [get_bd_pins control/aresetn] [get_bd_pins memory/aresetn]
connect_bd_intf_net [get_bd_intf_pins processor/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins instantft_0/s_axi]
connect_bd_intf_net [get_bd_intf_pins instantft_0/m_axi] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins processor/S_AXI_HP0_FPD]
connect_bd_net [get_bd_pins instantft_0/irq] [get_bd_pins processor/pl_ps_irq0]
assign_bd_address
validate_bd_design
save_bd_design

add_files [make_wrapper -files [get_files instantft.bd] -top -import]
set_property top instantft_wrapper [current_fileset]
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} { error {the implementation failed} }
open_run impl_1
report_utilization -hierarchical -file $output/utilization.txt
report_timing_summary -file $output/timing.txt
report_power -file $output/power.txt
if {[get_property STATS.WNS [get_runs impl_1]] < 0} { puts {WARNING: timing is not met} }

set results [get_property DIRECTORY [get_runs impl_1]]
file copy -force $results/instantft_wrapper.bit $output/instantft.bit
set handoff [glob $output/overlay/overlay.gen/sources_1/bd/instantft/hw_handoff/instantft.hwh]
file copy -force $handoff $output/instantft.hwh
puts "overlay in $output"
